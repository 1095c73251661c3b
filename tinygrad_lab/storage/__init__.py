"""What goes to disk: files that are written whole, arrays, and descriptions of objects; never pickle."""
