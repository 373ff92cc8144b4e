"""What eligibility decides: pure functions of a command, one own stream's state and a situation.

`case` is the state of a case's decisions, `determination`, `files`, `awards` and `cover` the
steps on it, in the order of the journey; `parameters` are the dated rules' own streams; `caps`
says what a fact moves in guard rows; `offices` who may.
"""
