"""The sets of images that go by a name. Apart from sources.py, which loads them, so that help texts can list them without its libraries."""

KAGGLE_HANDLES = {"stanford-cars": "jessicali9530/stanford-cars-dataset", "tiny-imagenet": "akash2sharma/tiny-imagenet"}
EMBEDDED = {"mnist5k": 28, "digits": 8, "toy-cars": 32}  # name: its own size in pixels
