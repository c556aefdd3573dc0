"""Executes a pushed notebook cell by cell in the working folder, as papermill does at Kaggle, and leaves __notebook__.ipynb there.

python run_notebook.py NOTEBOOK
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def main(path: str) -> int:
    notebook = nbformat.read(path, as_version=4)
    name = notebook.metadata.get("kernelspec", {}).get("name")
    if not name:
        raise ValueError("No kernel name found in notebook and no override provided.")
    try:
        NotebookClient(notebook, kernel_name=name, timeout=600, resources={"metadata": {"path": str(Path.cwd())}}).execute()
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        nbformat.write(notebook, "__notebook__.ipynb")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
