from stage_fixtures import clock, stage

__all__ = ["clock", "stage"]
