"""Jobs and sensors that land what sources have."""
