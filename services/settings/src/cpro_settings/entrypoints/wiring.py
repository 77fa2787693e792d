"""How a route gets at the service that it belongs to."""

from typing import Annotated

from fastapi import Depends, Request

from cpro_settings.bootstrap import Service


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Wired = Annotated[Service, Depends(_service)]
