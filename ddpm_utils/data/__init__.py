"""Images and pairs: from a name or a folder to arrays."""
