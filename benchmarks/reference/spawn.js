// A node of the reference that spawns many, each answering a call. What it spawns is detached: the runner ends it.
'use strict';

const {answerCommands, now, options, say} = require('./commands.js');

const {count, port} = options;
const distribution = require('@brown-ds/distribution')({ip: '127.0.0.1', port});

function spawnAll(command, reply) {
  const begun = now();
  const nodes = {};
  let ready = 0;
  const failed = (what, error) => reply({error: `${what}: ${error}`});

  function callAll() {
    distribution.local.groups.put({gid: 'children'}, nodes, (error) => {
      if (error) return failed('groups.put', error);
      distribution.children.status.get('port', (errors, values) => {
        const ports = Object.values(values || {}).map(Number).sort((a, b) => a - b);
        if (ports.length !== count || ports.some((found, index) => found !== port + 1 + index)) {
          return failed('status.get', JSON.stringify(errors) + JSON.stringify(values));
        }
        reply({seconds: now() - begun});
      });
    });
  }

  for (let index = 1; index <= count; index += 1) {
    // Of spawns in progress, it is the last one's callback that is called for all: so only what is passed tells which.
    distribution.local.status.spawn({ip: '127.0.0.1', port: port + index}, (error, found) => {
      if (error) return failed('status.spawn', error);
      const node = {ip: found.ip, port: found.port};
      nodes[distribution.util.id.getSID(node)] = node;
      ready += 1;
      if (ready === count) callAll();
    });
  }
}

distribution.node.start((error) => {
  if (error) say({error: String(error)});
  else answerCommands({}, spawnAll);
});
