"""`service.restart`: restarts a listed program under supervisord."""
