"""What training decides, by the three slips: pure functions of a command, a stream and a situation.

`slips` are the employer's order and the institution's menu, `classes` what the union opens on
them, `workers` a filed worker's way through; `heads` says what a fact moves in guard rows.
"""
