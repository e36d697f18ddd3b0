// A node of the reference that gossips to a fleet, and asks when each member heard it.
'use strict';

const {answerCommands, now, options, startNode} = require('./commands.js');

startNode((distribution) => {
  const members = Object.fromEntries(options.nodes.map(({ip, port}) => {
    const node = {ip, port};
    return [distribution.util.id.getSID(node), node];
  }));
  const remote = {service: 'tally', method: 'note'};

  function answer(command, reply) {
    if (command.do === 'gossip') {
      const begun = now();
      distribution.fleet.gossip.send([], {...remote}, () => reply({begun}));
    } else {
      distribution.fleet.comm.send([], {service: 'tally', method: 'heard'}, (errors, values) => {
        if (Object.keys(errors || {}).length) reply({error: `tally.heard: ${JSON.stringify(errors)}`});
        else reply({heard: Object.values(values)});
      });
    }
  }

  const put = {gid: 'fleet'};
  distribution.local.groups.put(put, members, (error) => {
    if (error) throw error;
    distribution.fleet.groups.put(put, members, (errors) => {
      if (Object.keys(errors || {}).length) throw new Error(JSON.stringify(errors));
      answerCommands({}, answer);
    });
  });
});
