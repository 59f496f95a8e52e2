"""What keeps files and catalog in order: collecting what nothing needs, verifying what is there."""
