"""Assets whose materialisations build partitions, and what asks for them."""
