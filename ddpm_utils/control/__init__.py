"""Chapter 08: control branches and the hints that they follow."""
