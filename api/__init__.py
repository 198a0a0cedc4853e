"""REST under `/api/v1`: resources (one file each), their OpenAPI description, keys, limits and errors.

`routing` holds what a route is and what it is called with, `app` serves the routes, `resources/` has them. A resource
is thin: it checks nothing that the room which owns the rows does not check, and it writes nothing by itself.
"""
