// Lets a test written in Python use mysql2: one JSON request per line on stdin, one JSON answer per line on stdout.
// {op, connection, ...} -> {value} or {error: {errno, sqlstate, text}}. Bytes travel as {"$bytes": base64}.
'use strict';

const readline = require('node:readline');
const { Readable } = require('node:stream');
const mysql = require('mysql2/promise');

const connections = new Map();
let lastConnection = 0;

const decode = (value) => (value && value.$bytes !== undefined ? Buffer.from(value.$bytes, 'base64') : value);
const encode = (value) => (Buffer.isBuffer(value) ? { $bytes: value.toString('base64') } : value);
const rows = (result) => result.map((row) => row.map(encode));

const operations = {
  async connect({ options }) {
    const connection = await mysql.createConnection({
      ...options, rowsAsArray: true, dateStrings: true, supportBigNumbers: true, bigNumberStrings: false, decimalNumbers: false,
    });
    connection.on('error', () => {}); // a lost connection is reported by the next operation
    connections.set(++lastConnection, connection);
    return lastConnection;
  },

  async query({ connection, sql, parameters, prepared, upload }) {
    const target = connections.get(connection);
    const values = parameters.map(decode);
    const infileStreamFactory = upload === undefined ? undefined : () => Readable.from([Buffer.from(upload)]);
    const [result] = prepared
      ? await target.execute({ sql, values })
      : await target.query({ sql, values, infileStreamFactory });
    if (!Array.isArray(result)) return { affected: result.affectedRows, inserted: Number(result.insertId), rows: [] };
    return { affected: -1, inserted: 0, rows: rows(result) };
  },

  async results({ connection, sql }) {
    const [result, fields] = await connections.get(connection).query(sql);
    const several = Array.isArray(fields) && Array.isArray(fields[0]);
    return (several ? result : [result]).filter(Array.isArray).map(rows);
  },

  async changeUser({ connection, options }) {
    await connections.get(connection).changeUser(options);
  },

  async reset({ connection }) {
    await connections.get(connection).reset();
  },

  async ping({ connection }) {
    await connections.get(connection).ping();
  },

  async close({ connection }) {
    await connections.get(connection).end();
    connections.delete(connection);
  },
};

async function answer(line) {
  const request = JSON.parse(line);
  try {
    return { value: await operations[request.op](request) };
  } catch (error) {
    return { error: { errno: error.errno ?? 0, sqlstate: error.sqlState ?? '', text: String(error.message) } };
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await answer(line)) + '\n');
  }
  process.exit(0);
})();
