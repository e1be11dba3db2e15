"""maskwatch: finds faces, says mask, no mask, worn wrongly or unsure, and tells a broker, one story per person."""

__version__ = "0.1.0"
