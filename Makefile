# make demo: train on real digits and sample from the result, in minutes. make test: everything CI checks.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench clean

# Installed once; again when the requirements change.
$(VENV)/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, this is %d.%d; try make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: $(VENV)/installed
	rm -rf out/demo
	@started=$$(date +%s); \
	$(BIN)/python -m ddpm_utils train --data-path mnist5k --out out/demo --device cpu --prediction v --epochs 8 --batch-size 64 \
		--width 16 --multipliers 1 2 4 --blocks 1 --lr 2e-3 --warmup 50 --lr-decay cosine --ema-decay 0.99 --sample-every 0 && \
	$(BIN)/python -m ddpm_utils sample out/demo/model.safetensors --device cpu --n 100 --steps 50 --guidance 2.5 \
		--out out/demo/samples.png --film out/demo/denoising.png --gif out/demo/denoising.gif && \
	echo "done in $$(( $$(date +%s) - started )) s; look at out/demo/samples.png, denoising.png, denoising.gif and loss.png"

# One thread for each of two processes: threads that share cores wait for each other.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/installed
	$(BIN)/python tests/bench.py

clean:
	rm -rf $(VENV) out build *.egg-info
