"""Who may, when, and on whose word?"""
