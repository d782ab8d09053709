"""The app whose model the contenders save."""
