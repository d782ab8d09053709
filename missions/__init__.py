"""Why, and in what order?"""
