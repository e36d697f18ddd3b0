// A node of the reference that calls a fleet: one group-wide call after the other.
'use strict';

const {answerCommands, now, options, startNode} = require('./commands.js');

const PAYLOAD = 'trionet'.repeat(14) + '!!';

startNode((distribution) => {
  const members = Object.fromEntries(options.nodes.map((node, index) => [`node-${index}`, node]));

  function fanOut(command, reply) {
    const seconds = [];

    function next() {
      if (seconds.length === command.times) {
        reply({seconds});
        return;
      }
      const begun = now();
      distribution.fleet.comm.send([PAYLOAD], {service: 'echo', method: 'plain'}, (errors, values) => {
        seconds.push(now() - begun);
        const echoes = Object.values(values || {});
        if (Object.keys(errors || {}).length || echoes.length !== options.nodes.length || echoes.some((echo) => echo !== PAYLOAD)) {
          reply({error: `an echo is wrong: ${JSON.stringify(errors)}`});
        } else {
          next();
        }
      });
    }

    next();
  }

  distribution.local.groups.put({gid: 'fleet'}, members, (error) => {
    if (error) throw error;
    answerCommands({}, fanOut);
  });
});
