"""From a declaration, in YAML or as a pandera model, to a `Dataset`."""
