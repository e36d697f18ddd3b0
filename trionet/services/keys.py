"""The keys of the cluster: which there are, and how they are rotated.

A key is installed, used and retired. Each step is refused until all present members are ready for it; the text names
those that are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trionet.errors import MalformedRequest, NotPermitted, PreconditionFailed, TemporarilyUnavailable
from trionet.events import ChildEnded, Event, MemberForgotten, MemberJoined, MemberLeft
from trionet.identity import NodeAddress, is_loopback
from trionet.log_limits import about, limited_log

from .base import rpc
from .key_arguments import is_keys_call, key_id_of, key_of, step_of
from .key_status import KeysStatus, status_of
from .met_members import MetMembers

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Collection
    from random import Random

    import trio

    from trionet.config import NodeConfig
    from trionet.security.keys import ClusterKey
    from trionet.security.node_keys import NodeKeys
    from trionet.security.rollout import Rollout
    from trionet.transports.base import Endpoint

    from .cluster_agent import ClusterAgent
    from .key_agent import KeyAgent

__all__ = ["Keys"]

_log = limited_log(__name__)

_ABSENT: Final = "absent"


class Keys:
    """The local service ``keys``; also ``node.keys``.

    Attributes:
        agent: does the work; None while the node has no keys.
    """

    def __init__(
        self,
        config: NodeConfig,
        endpoint: Endpoint,
        begin: Callable[[NodeKeys], KeyAgent],
        random: Random,
    ) -> None:
        """Serve a node's keys; ``begin(keys)`` returns who does the work once there are some."""
        self.agent: KeyAgent | None = None
        self._config = config
        self._live = endpoint.keys
        self._own = endpoint.address
        self._begin = begin
        self._random = random
        self._links = endpoint.links
        self._keyless: set[NodeAddress] = set()  # children that have booted without a key
        self._keyed: set[NodeAddress] = set()  # those of them that have got one since
        self._met = MetMembers()
        self._is_closed = False
        self._seeds = [seed for seed in config.join or () if NodeAddress.of(seed) != endpoint.address]
        if self._live.now is not None and endpoint.links is not None:
            self.agent = begin(self._live.now)

    @classmethod
    def of(
        cls,
        config: NodeConfig,
        endpoint: Endpoint,
        cluster: ClusterAgent,
        known: Callable[[], set[NodeAddress]],
        on_boot: Callable[[Callable[[NodeAddress], None]], None],
        nursery: trio.Nursery,
        random: Random,
    ) -> Keys:
        """Return the service of a node.

        Args:
            config: the node's.
            endpoint: its place on a network.
            cluster: its part in its cluster.
            known: returns the present members.
            on_boot: called with a listener to the addresses of children that boot.
            nursery: for tasks.
            random: random numbers.
        """

        def begin(keys: NodeKeys) -> KeyAgent:
            from .key_agent import KeyAgent  # it needs the extra `secure`

            assert endpoint.links is not None
            agent = KeyAgent(endpoint, keys, known, nursery, random)
            cluster.on_other_key(endpoint.links.on_other_key)
            if not keys.rollout.is_protected:
                _log.warning(
                    "node %s is unprotected: it has a key, and still accepts plain peers (%s); go on with "
                    "'trionet keys rollout'",
                    endpoint.address,
                    keys.rollout,
                )
            return agent

        service = cls(config, endpoint, begin, random)
        on_boot(service.handle_boot)
        return service

    @property
    def reloads(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What reads its files again: nothing if its configuration names none."""
        return {} if self._config.key_file is None else {"keys": self.reload}

    def handle_boot(self, child: NodeAddress) -> None:
        """Handle a child that has booted."""
        if self.agent is None:
            self._keyless.add(child)
        else:
            self.agent.add_child(child)

    def handle_event(self, event: Event) -> None:
        """Handle an event of this node."""
        if type(event) is ChildEnded:
            self._keyless.discard(event.node)
            self._keyed.discard(event.node)
        if self.agent is None:
            if self._live.is_rolling and type(event) is MemberJoined:
                self._met.handle_joined(event.node)
            elif type(event) is MemberLeft:
                self._met.handle_left(event.node)
            elif type(event) is MemberForgotten:
                self._met.forget(event.node)
        elif type(event) is MemberJoined:
            self.agent.handle_members()
        elif type(event) is MemberLeft:
            self.agent.handle_left(event.node)
        elif type(event) in (ChildEnded, MemberForgotten):
            self.agent.discard(event.node)

    def withdraw(self) -> None:
        """Take part in no rotation, as a client of a cluster that will soon be gone."""
        self.close()
        self.agent = None

    def close(self) -> None:
        """Tell and ask nothing more."""
        self._is_closed = True
        if self.agent is not None:
            self.agent.close()

    @rpc
    async def status(self) -> KeysStatus:
        """Ask all present members, and return which keys there are, and who holds them.

        Raises:
            PreconditionFailed: the node has no key.
        """
        agent = self._agent()
        await agent.gather()
        return status_of(agent.ring, agent.present(), agent.fault)

    async def install(self, key: str | os.PathLike[str] | ClusterKey, *, by_file: bool = False) -> str:
        """Hold a new key, and give it to all members; nothing is sealed with it until it is used.

        Args:
            key: the path of its file, made by ``trionet keys new``.
            by_file: do not give it to others: install it on each node, and no node that had only the keys before, or
                whoever has stolen one, gets it.

        Returns:
            The key id.

        Raises:
            ConfigError: it is no key, or its file can't be used.
            MalformedRequest: an argument has another type.
            PreconditionFailed: it is retired, or there are too many keys; or this node has no key.
        """
        if not isinstance(by_file, bool):
            raise MalformedRequest(f"by_file is True or False, not a {type(by_file).__name__}")
        agent = self._agent()
        return await self._install(agent, await key_of(key), by_file=by_file)

    @rpc
    async def use(self, key_id: str, without: list[str] | tuple[str, ...] = ()) -> None:
        """Seal with an installed key from now on, at all members.

        Args:
            key_id: 8 hex digits.
            without: members that need not hold it: their SIDs or addresses; ``absent`` for all absent ones.

        Raises:
            MalformedRequest: an argument is malformed, or there is no such member.
            PreconditionFailed: it may not be used yet; the text names the members that it waits for.
        """
        agent, key = self._agent(), key_id_of(key_id)
        names = await self._names(agent, without)
        agent.ring.use(key, agent.present(), names)
        await self._spread(agent, f"key {key_id} is used")

    @rpc
    async def retire(self, key_id: str, without: list[str] | tuple[str, ...] = ()) -> None:
        """Seal no more with a key, at all members, and forget it once all have heard; final.

        Its tokens end at once. Links under it are replaced, and closed within a minute.

        Args:
            key_id: 8 hex digits.
            without: members that need not have its successor, and may be left behind: their SIDs or addresses;
                ``absent`` for all absent ones.

        Raises:
            MalformedRequest: an argument is malformed, or there is no such member.
            PreconditionFailed: it may not be retired yet; the text names the members that it waits for.
        """
        agent, key = self._agent(), key_id_of(key_id)
        names = await self._names(agent, without)
        agent.ring.retire(key, agent.present(), names)
        await self._spread(agent, f"key {key_id} is retired")

    @rpc
    async def exchange(self, news: bytes) -> bytes:
        """Exchange news of keys; for nodes only, over sealed links.

        Raises:
            MalformedRequest: these are no news.
            NotPermitted: they came by another way.
        """
        return await self._agent().exchange.receive(news)

    @rpc
    async def give(self, news: bytes) -> str:
        """Install a key that an operator gives over a sealed link; return its id. See `install`.

        Raises:
            MalformedRequest: there is no key.
            NotPermitted: it came by another way, or under a key that is retired.
            PreconditionFailed: it may not be installed.
        """
        from trionet.security.key_news import decode_news
        from trionet.security.key_statements import KeyState

        from .key_exchange import sealed_call

        agent = self._agent()
        if agent.ring.keys.state(sealed_call(agent.ring)) >= KeyState.RETIRED:
            raise NotPermitted("the key of this link is retired: use the key file of a member")
        entries = [one.entry() for one in decode_news(news).materials]
        if len(entries) != 1 or entries[0] is None or entries[0].key is None:
            raise MalformedRequest("one key is given at a time")
        return await self._install(agent, entries[0].key, by_file=False)

    @rpc
    async def reload(self) -> None:
        """Read the node's key file again, and take the keys that are new in it.

        A plain node, which has begun with ``accept="plain"``, accepts sealed peers too from then on. On errors all
        stays as it was.

        Raises:
            ConfigError: it can't be read; the text says why.
            NotPermitted: the node has no key yet, and is not on loopback: send its process SIGHUP.
            PreconditionFailed: the node has no key, and its configuration names no file.
        """
        if self.agent is not None:
            await self._reload_children()
            await self.agent.reload()
            return
        if not self._live.is_rolling or self._config.key_file is None:
            self._agent()
        if is_keys_call() and not is_loopback(self._own.ip):
            raise NotPermitted(f"node {self._own} has no key yet: send its process SIGHUP")
        await self._take_first(self._config.key_file or "")

    async def _take_first(self, path: str) -> None:
        """Take the first keys."""
        from trionet.security.node_keys import NodeKeys

        from .key_store import read_file

        file = await read_file(path)
        await self._reload_children()  # while this node can call those without a key, wherever the file is
        if self.agent is not None:
            return  # another call was faster
        if self._is_closed:
            raise TemporarilyUnavailable("the node is stopping")
        keys = NodeKeys.of_file(file, self._config)
        self._live.replace(keys)
        self.agent = self._begin(keys)
        self.agent.partners.update(self._keyless | self._keyed)
        self.agent.ring.note_members(self._met.pop_all())
        await self.agent.handle_change()
        self.agent.handle_members()

    async def _reload_children(self) -> None:
        """Have the children that have no key yet read it, too."""
        if self._live.is_rolling and self._links is not None and self._keyless:
            from .key_exchange import reload_all

            keyed = await reload_all(self._links, self._own, self._keyless, self._random)
            self._keyless -= keyed
            self._keyed |= keyed

    @rpc
    async def rollout(self, step: str, without: list[str] | tuple[str, ...] = ()) -> None:
        """Take the next step of a rollout at all present members, this one first.

        Args:
            step: ``accept=both``, ``send=sealed`` or ``accept=sealed``. The first is taken by a reload of the key file.
            without: members that need not be ready, and may be left behind: their SIDs or addresses; ``absent`` for all
                absent ones.

        Raises:
            MalformedRequest: an argument is malformed, or there is no such member.
            PreconditionFailed: it may not be taken yet, or a member has not taken it; the text names the members.
        """
        agent, to = self._agent(), step_of(step)
        names = await self._names(agent, without)
        await self._step(agent, to, names)
        late = await agent.exchange.step_all(agent.present_nodes(), step, names)
        await self._spread(agent, f"{step} is taken")
        if late:
            raise PreconditionFailed(
                f"{step} is taken here, and not yet by {', '.join(sorted(late)[:10])}: repeat the command"
            )

    @rpc
    async def take_step(self, step: str, without: list[str] | tuple[str, ...] = ()) -> None:
        """Take a step at this node alone; for nodes only, over sealed links.

        Raises:
            MalformedRequest: an argument is malformed.
            NotPermitted: it came by another way.
            PreconditionFailed: it may not be taken yet; the text names the members that it waits for.
        """
        from .key_exchange import sealed_call

        agent, to = self._agent(), step_of(step)
        sealed_call(agent.ring)
        names = [one for one in without if isinstance(one, str)] if isinstance(without, list | tuple) else []
        await self._step(agent, to, names)

    async def _step(self, agent: KeyAgent, to: Rollout, names: Collection[str]) -> None:
        if agent.ring.rollout.number >= to.number:
            return
        if not agent.ring.may_step(to, agent.present(), names).is_ready:
            await agent.gather()
        agent.ring.step(to, agent.present(), names)
        await agent.handle_change()

    async def _install(self, agent: KeyAgent, key: ClusterKey, *, by_file: bool) -> str:
        agent.ring.note_members(agent.present())
        agent.ring.keys.install(key, by_file=by_file)
        await self._spread(agent, f"key {key.name} is installed")
        return key.name

    async def _spread(self, agent: KeyAgent, what: str) -> None:
        """Write what has changed, tell all members, and then all of them what they have answered."""
        name = agent.ring.name
        _log.info("node %s: by command, %s", name, what, extra=about(name, node=name))
        await agent.handle_change()
        await agent.gather()
        await agent.handle_change()
        await agent.gather()
        await agent.handle_change()

    def _agent(self) -> KeyAgent:
        if self.agent is None and self._live.is_rolling:
            raise PreconditionFailed("this node has no key yet: copy one to the path of its key_file, and reload it")
        if self.agent is None:
            raise PreconditionFailed("this node has no key: make one with 'trionet keys new FILE', and set key_file")
        return self.agent

    async def _names(self, agent: KeyAgent, without: Any) -> tuple[str, ...]:
        """Ask all present members; return the names of those that an operator excepts by SID or address."""
        if not isinstance(without, list | tuple | set | frozenset) or not all(isinstance(one, str) for one in without):
            raise MalformedRequest("without is a list of members: their SIDs or addresses, or 'absent'")
        await agent.gather()
        present = agent.present()
        if self._seeds and not agent.ring.members:
            raise PreconditionFailed("this node has not joined its cluster yet: wait until it knows its members")
        known = {NodeAddress.of(name).sid: name for name in {*agent.ring.members, *present}}
        found = set[str]()
        for one in without:
            if one == _ABSENT:
                found.update(name for name in agent.ring.members if name not in present)
            elif one in known:
                found.add(known[one])
            elif one in known.values():
                found.add(one)
            else:
                raise MalformedRequest(f"there is no member {one!r:.80}: give the SID or the address of one")
        return tuple(sorted(found))
