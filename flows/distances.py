"""How far places are from each other, offline: good to half a percent, which is what a walk or a drive needs."""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt

EARTH_KM = 6_371.0088  # mean radius (IUGG)


def kilometres(from_lat: float, from_lon: float, to_lat: float, to_lon: float) -> float:
    """The way over the surface between two places in degrees (haversine)."""
    lat1, lat2 = radians(from_lat), radians(to_lat)
    half = sin((lat2 - lat1) / 2) ** 2
    half += cos(lat1) * cos(lat2) * sin(radians(to_lon - from_lon) / 2) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(half)))


def shown(km: float, language: str) -> str:
    """`a 350 m`, `a 1,2 km`, `a 12 km`; in English `350 m away`, `1.2 km away`."""
    if km < 0.995:
        figure = f"{max(10, round(km * 100) * 10)} m"
    elif km < 9.95:
        figure = f"{km:.1f} km"
    else:
        figure = f"{km:.0f} km"
    return f"a {figure.replace('.', ',')}" if language == "it" else f"{figure} away"
