"""How is it all put together and reached?"""
