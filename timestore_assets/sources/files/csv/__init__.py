"""CSV files, cut by byte positions so that a landing can go on where it stopped."""
