"""Images that the project draws itself, seeded, for training and tests where real ones may not be redistributed."""
