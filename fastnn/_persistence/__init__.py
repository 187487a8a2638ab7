"""Models as files and pickles."""
