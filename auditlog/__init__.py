"""The ground: what happened, can it be proved, and what work is still owed?"""
