"""All mistakes: (file in ddpm_utils, name, text that is there once, text to put in its place, tests, PUBLISHED if others made it)."""

from table_control import CONTROL
from table_faults import FAULTS
from table_learning import LEARNING
from table_maths import MATHS
from table_restoration import RESTORATION
from table_sampling import SAMPLING

TABLES = (MATHS, SAMPLING, LEARNING, RESTORATION, CONTROL, FAULTS)
MUTANTS = [(file, *row) for table in TABLES for file, rows in table.items() for row in rows]
