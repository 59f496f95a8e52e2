"""The demo's steps: drop real files, watch the daemon work, account, ask, plot."""
