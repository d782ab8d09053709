"""What did we say would happen, what happened, and what is the way back?"""
