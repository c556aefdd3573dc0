# make demo: train on real digits and sample from the result, in minutes. make test: everything CI checks.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
COLAB := .venv-colab
BENCH := .venv-bench
# Every cell of every notebook, in the small profile, two notebooks at a time; a kernel that died is noticed by its time limit.
NBVAL := DDPM_PROFILE=tiny OMP_NUM_THREADS=1
NBVAL_FLAGS := -n 2 --dist loadfile --ignore notebooks/colab_train.ipynb --nbval-lax --nbval-current-env --nbval-cell-timeout=180 --nbval-kernel-startup-timeout=120

.PHONY: demo test test-code test-notebooks test-colab test-browser test-browser-all mutants faults kills flips fuzz lint lint-site bench kaggle-record notebooks-record retouch-record guidance-record control-record exchange-record quality-record site-record lab notebooks html site badges equations clean

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
CPU_WHEELS := https://download.pytorch.org/whl/cpu

# The package with what training and sampling need, in the versions of requirements.txt. Linux's usual torch brings 2 GB for NVIDIA's GPUs along.
$(VENV)/package: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, this is %d.%d; try make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	@if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
		$(PIP) --no-deps --retries 0 --timeout 10 --index-url $(CPU_WHEELS) --constraint requirements.txt torch torchvision 2>/dev/null || \
		echo "$(CPU_WHEELS) has no torch for this machine, or can't be reached; the usual one is taken"; fi
	$(PIP) --constraint requirements.txt --editable .
	touch $@

# Everything: notebooks, tests, the linter. Installed once; again when the requirements change.
$(VENV)/installed: $(VENV)/package
	$(PIP) --requirement requirements.txt
	touch $@

demo: $(VENV)/package
	rm -rf out/demo
	@started=$$(date +%s); \
	$(BIN)/python -m ddpm_utils train --data-path mnist5k --out out/demo --device cpu --prediction x0 --epochs 20 --batch-size 32 \
		--patch 4 --width 64 --multipliers 1 --blocks 1 --lr 2e-3 --warmup 50 --lr-decay cosine --ema-decay 0.99 --sample-every 0 && \
	$(BIN)/python -m ddpm_utils sample out/demo/model.safetensors --device cpu --n 100 --sampler dpm --steps 15 --guidance 2 \
		--out out/demo/samples.png --film out/demo/denoising.png --gif out/demo/denoising.gif && \
	echo "done in $$(( $$(date +%s) - started )) s; look at out/demo/samples.png, denoising.png, denoising.gif and loss.png"

# One thread for each of two processes: threads that share cores wait for each other.
test: lint test-code test-notebooks

test-code: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-notebooks: $(VENV)/installed
	$(NBVAL) $(BIN)/python -m pytest notebooks $(NBVAL_FLAGS)

# The notebooks as Colab runs them: its generation of widgets, IPython and ipykernel, over the packages of $(VENV).
test-colab: $(COLAB)/installed
	$(NBVAL) $(COLAB)/bin/python -m pytest notebooks $(NBVAL_FLAGS)
	$(NBVAL) $(COLAB)/bin/python -m pytest tests/course/test_standalone_notebooks.py

$(COLAB)/installed: $(VENV)/installed Makefile
	rm -rf $(COLAB)
	$(BIN)/python -m venv $(COLAB)
	$(COLAB)/bin/python -m pip install --quiet --disable-pip-version-check ipywidgets==7.7.1 ipython==7.34.0 ipykernel==6.17.1 nbval==0.11.0 pytest==9.2.0
	$(BIN)/python -c "import site; print('import site; site.addsitedir(%r)' % site.getsitepackages()[0])" > $$($(COLAB)/bin/python -c "import site; print(site.getsitepackages()[0])")/packages.pth
	$(COLAB)/bin/python -c "import ipywidgets, IPython, ipykernel, torch; assert (ipywidgets.__version__, IPython.__version__, ipykernel.__version__) == ('7.7.1', '7.34.0', '6.17.1')"
	touch $@

# What readers see: the notebooks in JupyterLab with live sliders, the exported pages without a network, the site. Pictures in build/screenshots.
test-browser: $(VENV)/installed site
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
		echo "make test-browser needs Chromium: install it (on Debian: apt-get install chromium), then run this again." >&2; exit 1
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:xdist tests/browser/browser_checks.py tests/browser/site_checks.py

# The site in Firefox, too: the one that Playwright fetches once, with .venv/bin/playwright install --with-deps firefox.
test-browser-all: test-browser
	BROWSER=firefox OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:xdist tests/browser/site_checks.py

# The site's sizes, its times and memory in Chromium, and how far from Python's its pictures are; writes tests/records/site.md.
site-record: $(VENV)/installed site
	OMP_NUM_THREADS=1 $(BIN)/python tests/records/site_record.py --record tests/records/site.md

# Put each known mistake into a copy of the code and see that a test notices; writes tests/records/mutants.md.
mutants: $(VENV)/installed
	$(BIN)/python tests/mutants

# The course. lab: work through it. notebooks: execute all in place (or ONLY=notebooks/01_schedule_constants.ipynb). html: preview in build/html.
lab: $(VENV)/installed
	$(BIN)/jupyter lab --notebook-dir=. notebooks/00_whole_thing.ipynb

notebooks: $(VENV)/installed
	DDPM_PROFILE=demo $(BIN)/python notebooks/tools/course.py run $(ONLY)

html: $(VENV)/installed
	$(BIN)/python notebooks/tools/course.py html

# Pages that run the models in the reader's browser, with the course: build/site for any server, build/play.html for a disk. REPO=owner/name: its links.
NPM := cd site && PATH="$(abspath $(BIN)):$$PATH" npm
site: $(VENV)/installed site/node_modules/installed
	$(BIN)/python site/build_site.py --repository "$(REPO)"

site/node_modules/installed: site/package.json site/package-lock.json $(VENV)/installed
	$(NPM) ci --ignore-scripts --no-audit --no-fund --silent
	touch $@

# The address of the repository, which badges, links and set-up cells name: make badges REPO=owner/name
badges: $(VENV)/installed
	$(BIN)/python notebooks/tools/course.py badges "$(REPO)"

equations: $(VENV)/installed
	$(BIN)/python notebooks/tools/course.py equations

# Kill real runs a hundred times at random moments; writes tests/records/faults.md.
faults: $(VENV)/installed
	$(BIN)/python tests/records/faults.py --kills 100 --record tests/records/faults.md

# Kill every command that writes; damage every kind of file that is read back. Both write a table of their name in tests/records/.
kills: $(VENV)/installed
	$(BIN)/python tests/records/kills.py --kills 5 --record tests/records/kills.md

flips: $(VENV)/installed
	$(BIN)/python tests/records/flips.py --flips 120 --cuts 20 --record tests/records/flips.md

# The properties of tests/properties with 20 times as many cases, others each time (TIMES=2: twice as many); writes tests/records/properties.md.
TIMES ?= 20
fuzz: $(VENV)/installed
	$(BIN)/python tests/records/properties_record.py --times $(TIMES) --record tests/records/properties.md

# Chains of sessions on an emulated Kaggle, with the real client and kills of every kind; writes tests/records/kaggle.md.
kaggle-record: $(VENV)/installed
	$(BIN)/python tests/records/kaggle_record.py --record tests/records/kaggle.md

# Every notebook by "Run all" in the versions of Kaggle and Colab, each in an environment of its own; writes tests/records/notebooks.md.
notebooks-record: $(VENV)/installed
	$(BIN)/python tests/records/notebooks_record.py kaggle --python python3.12
	$(BIN)/python tests/records/notebooks_record.py colab --python python3.13

# Time and peak memory of retouching a 24-megapixel photograph; what photographs without wrinkles lose, in tests/records/photographs.md.
retouch-record: $(VENV)/installed
	$(BIN)/python tests/records/retouch_record.py --model ddpm_utils/weights/retouch.safetensors
	$(BIN)/python tests/records/photographs_record.py

# Label agreement, KID and coverage of guided digits by scale; writes tests/records/guidance.md.
guidance-record: $(VENV)/installed
	$(BIN)/python tests/records/guidance_record.py --record tests/records/guidance.md

# How well the shipped controls follow their hints; writes tests/records/control.md.
control-record: $(VENV)/installed
	$(BIN)/python tests/records/control_record.py --record tests/records/control.md

# Shipped models in diffusers and onnxruntime, and configurations read and refused; writes tests/records/exchange.md.
exchange-record: $(VENV)/installed
	$(BIN)/python tests/records/exchange_record.py --record tests/records/exchange.md

# KID by minutes of training, ours beside diffusers' example with its own settings; needs the network for the photographs.
quality-record: $(VENV)/installed
	$(BIN)/python tests/records/quality_record.py clothes --record tests/records/quality.md

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Types, lint and format of the site's scripts.
lint-site: $(VENV)/installed site/node_modules/installed
	$(NPM) run --silent lint

# Training and sampling beside diffusers and lucidrains, and beside what the machine can do; writes this machine's part of tests/records/speed.md.
bench: $(BENCH)/installed
	$(BENCH)/bin/python tests/bench --record tests/records/speed.md

# The other library, over the packages of $(VENV), which it mustn't change.
$(BENCH)/installed: $(VENV)/installed
	$(BIN)/python -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps denoising-diffusion-pytorch==2.3.4 \
		accelerate einops ema-pytorch psutil pytorch-fid
	$(BIN)/python -c "import site; print('import site; site.addsitedir(%r)' % site.getsitepackages()[0])" > $$($(BENCH)/bin/python -c "import site; print(site.getsitepackages()[0])")/packages.pth
	touch $@

clean:
	rm -rf $(VENV) $(COLAB) $(BENCH) out build site/node_modules *.egg-info
