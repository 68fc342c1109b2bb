// Runs the released JavaScript SDK for the tests: one JSON request a line on stdin, one answer or
// event a line on stdout. It decides nothing; what should happen is said in the tests.

import { createInterface } from 'node:readline'
import WebSocket from 'ws'
import { Centrifuge as OverJson, UnauthorizedError } from 'centrifuge'
import { Centrifuge as OverProtobuf } from 'centrifuge/build/protobuf'

let client
let binary = false
let socket
let tokens = []

class Socket extends WebSocket {
  constructor(...args) {
    super(...args)
    socket = this
  }
}

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n')
const out = (data) => (binary ? new TextEncoder().encode(JSON.stringify(data)) : data)
const read = (data) =>
  binary && data instanceof Uint8Array ? (data.length ? JSON.parse(new TextDecoder().decode(data)) : null) : data

const person = (info) =>
  info && { user: info.user, client: info.client, conn_info: read(info.connInfo), chan_info: read(info.chanInfo) }
const news = (ctx) => ({ data: read(ctx.data), offset: ctx.offset, tags: ctx.tags, info: person(ctx.info) })
const standing = (ctx) => ({
  recoverable: ctx.recoverable,
  positioned: ctx.positioned,
  was_recovering: ctx.wasRecovering,
  recovered: ctx.recovered,
  offset: ctx.streamPosition && ctx.streamPosition.offset,
  epoch: ctx.streamPosition && ctx.streamPosition.epoch,
  data: read(ctx.data),
})

const nextToken = async () => {
  say({ event: 'token_asked' })
  if (!tokens.length) throw new UnauthorizedError()
  return tokens.shift()
}

const operations = {
  open({ url, protobuf, token, with_get_token, options }) {
    binary = protobuf
    const Client = protobuf ? OverProtobuf : OverJson
    client = new Client(url, {
      websocket: Socket,
      token,
      getToken: with_get_token ? nextToken : null,
      minReconnectDelay: 20,
      maxReconnectDelay: 100,
      ...options,
    })
    client.on('connecting', (ctx) => say({ event: 'connecting', ...ctx }))
    client.on('connected', (ctx) =>
      say({ event: 'connected', client: ctx.client, version: ctx.version, data: read(ctx.data) }))
    client.on('disconnected', (ctx) => say({ event: 'disconnected', ...ctx }))
    client.on('error', (ctx) => say({ event: 'error', code: ctx.error.code, message: ctx.error.message }))
    client.on('subscribed', (ctx) => say({ event: 'server_subscribed', topic: ctx.channel, ...standing(ctx) }))
    client.on('unsubscribed', (ctx) => say({ event: 'server_unsubscribed', topic: ctx.channel }))
    client.on('publication', (ctx) => say({ event: 'server_publication', topic: ctx.channel, ...news(ctx) }))
  },
  tokens: (request) => void tokens.push(...request.tokens),
  connect: () => client.connect(),
  disconnect: () => client.disconnect(),
  cut: () => socket.terminate(),
  subscribe({ topic, options }) {
    const subscription = client.getSubscription(topic) || client.newSubscription(topic, {
      minResubscribeDelay: 20,
      maxResubscribeDelay: 100,
      ...options,
      getToken: options.with_get_token ? nextToken : null,
    })
    if (!subscription.listenerCount('subscribed')) {
      const tell = (event, read) =>
        subscription.on(event, (ctx) => say({ event, topic, ...read(ctx) }))
      const change = (ctx) => ({ code: ctx.code, reason: ctx.reason })
      tell('subscribing', change)
      tell('unsubscribed', change)
      tell('subscribed', standing)
      tell('publication', news)
      tell('join', (ctx) => ({ info: person(ctx.info) }))
      tell('leave', (ctx) => ({ info: person(ctx.info) }))
      subscription.on('error', (ctx) =>
        say({ event: 'subscription_error', topic, code: ctx.error.code, message: ctx.error.message }))
    }
    subscription.subscribe()
  },
  unsubscribe: ({ topic }) => client.getSubscription(topic).unsubscribe(),
  publish: async ({ topic, data }) => void (await client.publish(topic, out(data))),
  rpc: async ({ method, data }) => ({ data: read((await client.rpc(method, out(data))).data) }),
  async history({ topic, limit, since, reverse }) {
    const page = await client.history(topic, { limit, since, reverse })
    return { epoch: page.epoch, offset: page.offset, publications: page.publications.map(news) }
  },
  async presence({ topic }) {
    const { clients } = await client.presence(topic)
    return { clients: Object.fromEntries(Object.entries(clients).map(([id, info]) => [id, person(info)])) }
  },
  async presence_stats({ topic }) {
    const stats = await client.presenceStats(topic)
    return { num_clients: stats.numClients, num_users: stats.numUsers }
  },
}

createInterface({ input: process.stdin }).on('line', async (line) => {
  const { n, op, ...request } = JSON.parse(line)
  try {
    say({ n, ok: (await operations[op](request)) ?? {} })
  } catch (error) {
    say({ n, error: { code: error.code ?? -1, message: String(error.message ?? error) } })
  }
}).on('close', () => process.exit(0))
