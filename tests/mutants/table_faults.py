"""Mistakes in locks, copies of runs, the cache, checksums and listings. Rows as in table_maths.py."""

BACKUP = "tests/unit/training/test_backup.py"
STATES = "tests/unit/training/test_checkpoints.py"
FILES = "tests/unit/runtime/test_files.py"
FOLDERS = "tests/unit/data/test_folders.py"
LISTING = "tests/unit/data/test_listing.py"
PREPARE = "tests/unit/data/test_pair_folders.py"
OLDER = f"{BACKUP}::test_an_older_run_never_replaces_the_later_steps_of_its_copy"

FAULTS = {
    "training/backup.py": [
        (
            "two runs with a name each are one",
            "return ids[0] == ids[1]",
            "return True",
            f"{BACKUP}::test_a_copy_of_another_run_stays_as_it_is",
        ),
        (
            "runs without names are told apart by nothing",
            'return one["data"] == other["data"]',
            "return False",
            f"{BACKUP}::test_runs_from_before_run_json_are_told_apart_by_their_states",
        ),
        ("a copy may lose later steps", "if there > here:", "if False:", OLDER),
        (
            "a copy without states is of no step",
            "return max(map(step_of, [*states, str(had)]))",
            "return max(map(step_of, states), default=-1)",
            OLDER,
        ),
        (
            "a damaged status.json is as good as none",
            "        if not states:\n            raise",
            "        if False:\n            raise",
            OLDER,
        ),
        (
            "files of one size are equal",
            "if a.read(1 << 22) != block:",
            "if False:",
            f"{BACKUP}::test_a_file_is_current_by_its_contents_whatever_the_clocks_say",
        ),
        (
            "equal files are copied again",
            "if not is_current(place, path):",
            "if True:",
            f"{BACKUP}::test_what_has_not_changed_is_not_copied_again",
        ),
        (
            "a copy may lie inside its run",
            "if inner.is_relative_to(outer) or outer.is_relative_to(inner):",
            "if inner.is_relative_to(outer):",
            f"{BACKUP}::test_a_copy_needs_a_folder_of_its_own",
        ),
    ],
    "runtime/files.py": [
        ("a lock that is held is taken", "if free is False:", "if False:", FILES),
        ("a lock of another host is taken over", 'if host not in ("", here) or (free', "if (free", FILES),
        ("without locks a file counts for nothing", "(free is None and not new)", "False", FILES),
        ("a lock that was let go meanwhile is held", "current = _is_open_as(path, descriptor)", "current = True", FILES),
        ("another's lock is deleted", "mine = _is_open_as(path, descriptor)", "mine = True", FILES),
        ("half a file has its name", 'path.with_name(f".{path.name}.tmp"), path)', "path, path)", FILES),
    ],
    "runtime/cache.py": [
        ("the cache is believed", "if _size_and_sum(folder / name) != expected:", "if False:", FOLDERS),
        ("an entry is checked by its size", 'hashlib.file_digest(file, "sha256").hexdigest()]', '""]', FOLDERS),
        (
            "an entry without checksums is whole",
            'return "has no checksums, as older versions and interrupted ones left it"',
            "return None",
            FOLDERS,
        ),
        ("a passing error is the file's own fault", "isinstance(error, OSError) and error.errno is not None", "False", FOLDERS),
    ],
    "data/listing.py": [
        (
            "a link that closes a loop is followed",
            "if start != root and start.parent.resolve().is_relative_to(start.resolve()):",
            "if False:",
            LISTING,
        ),
        ("a folder with two names is read twice", "if folder.resolve() in seen:", "if False:", LISTING),
        (
            "linked folders vanish",
            "links += [folder / name for name in subfolders if (folder / name).is_symlink()]",
            "links += []",
            LISTING,
        ),
        ("hidden files are images", 'return "hidden"', "return None", LISTING),
    ],
    "training/log.py": [
        ("lines of the log aren't compared with their checksums", "is_whole = not checked or", "is_whole = True or", STATES),
        ("a log that ends early is whole", "if last < step - step % every:", "if False:", STATES),
    ],
    "settings.py": [
        ("a small file's checksum isn't compared", "!= _checksum(values):", "!= _checksum(values) and False:", f"{PREPARE} {OLDER}")
    ],
}
