// A node of the reference that serves `echo` until the runner, or the fleet that it belongs to, ends.
'use strict';

const {answerCommands, say, startNode} = require('./commands.js');

startNode((distribution, port) => answerCommands({ip: '127.0.0.1', port}, () => say({error: 'a node takes no commands'})));
