"""Whole programs where the model is: graphs are checked, kept by name, run, watched and cancelled."""
