"""What each fact of training says, in Chinese and in English, for replay and other readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.training import facts
from shared.fact import Fact
from shared.money import format_yuan

Said = tuple[str, str]


def _order_placed(f: facts.OrderPlaced) -> Said:
    return (
        f"用工订单：{f.employer} 招 {f.post} {f.heads} 人（{f.skill}）",
        f"order: {f.employer} wants {f.heads} for {f.post} ({f.skill})",
    )


def _menu_offered(f: facts.MenuOffered) -> Said:
    return (
        f"培训菜单：{f.institution} {f.course}（{f.skill}）{f.places} 个名额，"
        f"每人 {format_yuan(f.price_fen)} 元",
        f"menu: {f.institution} offers {f.course} ({f.skill}), {f.places} places at "
        f"{format_yuan(f.price_fen)} yuan",
    )


def _class_opened(f: facts.ClassOpened) -> Said:
    return (
        f"开班：{f.skill}，{f.places} 个名额，{f.starts_on} 至 {f.ends_on}",
        f"opened a class in {f.skill}, {f.places} places, {f.starts_on} to {f.ends_on}",
    )


def _worker_taken_over(f: facts.WorkerTakenOver) -> Said:
    return (
        f"获悉建档：{len(f.workers)} 人可参加培训",
        f"the file is registered: {len(f.workers)} members may be trained",
    )


def _file_closed(f: facts.FileClosed) -> Said:
    return f"获悉注销：{f.exit}", f"the file is closed: {f.exit}"


def _trainee_enrolled(f: facts.TraineeEnrolled) -> Said:
    return f"报名入班 {f.class_id}", f"enrolled in class {f.class_id}"


def _trainee_certified(f: facts.TraineeCertified) -> Said:
    return f"取得证书 {f.certificate_id}", f"earned the certificate {f.certificate_id}"


def _trainee_placed(f: facts.TraineePlaced) -> Said:
    return (
        f"上岗：{f.post}，{f.started_on} 起",
        f"placed in a job: {f.post}, from {f.started_on}",
    )


WORDS: Mapping[type[Fact], Callable[[Any], Said]] = {
    facts.OrderPlaced: _order_placed,
    facts.MenuOffered: _menu_offered,
    facts.ClassOpened: _class_opened,
    facts.WorkerTakenOver: _worker_taken_over,
    facts.FileClosed: _file_closed,
    facts.TraineeEnrolled: _trainee_enrolled,
    facts.TraineeCertified: _trainee_certified,
    facts.TraineePlaced: _trainee_placed,
}
