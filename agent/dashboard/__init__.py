"""The dashboard of staff: what happened in a period, by hour or day, by profile and by person."""
