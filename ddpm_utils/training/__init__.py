"""Chapter 04: the loop, its batches, files, limits and log; `tasks/` says what is trained."""
