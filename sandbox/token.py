"""``./run token PERSON``: a token of somebody of the sandbox, to try a request with.

It asks the development issuer of the installation whose ``environment`` was sourced. A person is
named after the office they hold, ``union-1-1.handler``; all of them stand in ``people.json``.
"""

from __future__ import annotations

import os
from typing import Final

import httpx

from sandbox.arguments import OneLineParser, program
from sandbox.issuer import SECRET_VARIABLE

ISSUER: Final = "BANGFU_ISSUER"
ANSWER_SECONDS: Final = 10.0
DESCRIPTION: Final = (
    "打印沙盒中某人的令牌，以试请求；先 source ./run up 所示文件。 Print a token of somebody of "
    "the sandbox, to try a request with; source the file that ./run up named first. People are "
    "named after their office; all of them stand in people.json beside that file."
)


@program
def main() -> None:
    """Print the token alone, so that a shell can take it."""
    parser = OneLineParser(prog="./run token", description=DESCRIPTION)
    parser.add_argument("person", metavar="PERSON", help="如 e.g. union-1-1.handler")
    person = parser.parse_args().person
    issuer, secret = os.environ.get(ISSUER, ""), os.environ.get(SECRET_VARIABLE, "")
    if not issuer or not secret:
        named = f"{ISSUER}, {SECRET_VARIABLE}"
        parser.error(f"{named}: 请先 source ./run up 所示文件 source the file that ./run up named")
    asked = {"subject": person, "secret": secret}
    try:
        answer = httpx.post(f"{issuer}/token", data=asked, timeout=ANSWER_SECONDS, trust_env=False)
        said = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        parser.error(f"{ISSUER}: 签发者无应答 the issuer does not answer ({type(error).__name__})")
    if said.get("error") == "invalid_grant":
        parser.error(
            "PERSON: 没有此人，须为 no such person, must be ORGANISATION.ROLE of people.json"
        )
    if not answer.is_success:
        parser.error(f"{SECRET_VARIABLE}: 签发者拒绝 the issuer refuses ({answer.status_code})")
    print(said["access_token"])


if __name__ == "__main__":
    main()
