"""Trained networks for other programs: ONNX, model cards, repositories of the Hugging Face Hub. diffusers_folders/ is one floor below."""
