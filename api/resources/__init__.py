"""One file for each resource; `api.routing.routes` scans this folder."""
