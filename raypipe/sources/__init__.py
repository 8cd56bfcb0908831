"""Where events come from: files, their index, and the slices of files that are read once."""
