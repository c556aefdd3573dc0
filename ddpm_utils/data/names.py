"""Data sets that have a name. Imports nothing, so that the command line can list them."""

EMBEDDED = {"mnist5k": 28, "digits": 8, "toy-cars": 32}  # name: its own size in pixels
KAGGLE_HANDLES = {
    "stanford-cars": "jessicali9530/stanford-cars-dataset",
    "tiny-imagenet": "akash2sharma/tiny-imagenet",
    "clothes": "agrigorev/clothing-dataset-full",
}
SPLITS = ("train", "test")
