"""read → decode → validate → evolve → route → write delta segments → publish."""
