"""The ground floor: devices, files, random numbers, the cache of decoded images, the doctor."""
