"""Networks in the folders that diffusers reads and writes, both ways. Needs no diffusers."""
