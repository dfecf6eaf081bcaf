"""An application of Django, for its migrations."""
