"""The ASGI application: what uvicorn serves."""
