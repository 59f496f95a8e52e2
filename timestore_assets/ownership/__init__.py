"""Which warehouse a storage target belongs to, made sure of before anything is written into it or removed from it."""
