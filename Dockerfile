# Flowgres: `serve`, `work` and `migrate`. The embedded server is left out: a container has a database beside it.
# For a build that can be repeated, name the image by its digest: --build-arg NODE_IMAGE=node:24-slim@sha256:…
ARG NODE_IMAGE=node:24-slim
FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build && npm prune --omit=dev --omit=optional

FROM ${NODE_IMAGE}
# Node collects late when nothing limits it: with this a process levels off below 700 MB.
ENV NODE_ENV=production HOST=0.0.0.0 NODE_OPTIONS=--max-old-space-size=512
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY --from=build /app/sql ./sql
COPY --from=build /app/migrations ./migrations
USER node
EXPOSE 8080
ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve"]
